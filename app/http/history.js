// One entry of the browser's history per view, so that one press of Back returns to what was left.
//
// Streamlit makes an entry whenever the script writes to the address, also for the defaults of a page that was
// just opened; and a change of page makes two: first the old page with the parameters of the new one, then the new
// page. Here a write to the address of the same page changes the entry that is there, unless the reader chose
// another model or benchmark, and a change of page makes one entry and leaves the old one as it was.
(() => {
  const VIEWS = { model: "model", benchmarks: "benchmark" }; // the parameter whose value is another view
  const push = history.pushState.bind(history);
  const replace = history.replaceState.bind(history);
  let acted = false; // the reader clicked or typed since the newest entry
  let last = null; // the newest write to the address of this page

  const act = (event) => { acted = acted || event.isTrusted; };
  for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, act, { capture: true, passive: true });
  addEventListener("popstate", () => { acted = false; last = null; }, { capture: true });

  const view = (url) => url.searchParams.get(VIEWS[url.pathname.split("/").pop()] ?? "");

  history.pushState = (state, title, address) => {
    const here = new URL(location.href);
    const there = new URL(address ?? here, here);
    if (there.pathname === here.pathname) {
      const isEntry = acted && view(here) !== view(there);
      last = { search: there.search, before: here, isEntry };
      if (isEntry) { push(state, title, address); acted = false; } else replace(state, title, address);
      return;
    }
    const isAnnounced = last !== null && last.search === here.search && here.search === there.search;
    if (isAnnounced && last.isEntry) replace(state, title, address);
    else {
      if (isAnnounced) replace(history.state, "", last.before);
      push(state, title, address);
    }
    acted = false;
    last = null;
  };
})();
