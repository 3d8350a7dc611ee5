"""Draw a home: its rooms, its devices, who lives there, and what electricity will cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from runners.harness.tasks.home.devices import KINDS, PERSON
from runners.harness.tasks.home.world import HOUR_S, MINUTE_S, Entity, World, clock_text

SIZES = (10, 50, 200)  # entities
N_HOURS = 24  # whose prices are known
N_ROOMS = {10: 3, 50: 8, 200: 20}
PEOPLE = (
    "Ada",
    "Bruno",
    "Clara",
    "David",
    "Elena",
    "Felix",
    "Greta",
    "Hugo",
    "Irene",
    "Jonas",
    "Karla",
    "Leo",
)


@dataclass(frozen=True, slots=True)
class Room:
    """A room, its other names, and its names in other languages."""

    name: str
    others: tuple[str, ...]
    named: Mapping[str, str]


def _room(name: str, others: str, de: str, fr: str, es: str, it: str) -> Room:
    return Room(name, tuple(others.split(", ")), {"de": de, "fr": fr, "es": es, "it": it})


ROOMS = (
    _room("Living room", "lounge, sitting room", "im Wohnzimmer", "du salon", "del salón", "del soggiorno"),
    _room("Kitchen", "cooking area, galley", "in der Küche", "de la cuisine", "de la cocina", "della cucina"),
    _room("Bedroom", "sleeping room, master bedroom", "im Schlafzimmer", "de la chambre", "del dormitorio",
          "della camera da letto"),
    _room("Study", "home office, work room", "im Arbeitszimmer", "du bureau", "del despacho", "dello studio"),
    _room("Bathroom", "bath, washroom", "im Bad", "de la salle de bain", "del baño", "del bagno"),
    _room("Dining room", "dining area, room with the big table", "im Esszimmer", "de la salle à manger",
          "del comedor", "della sala da pranzo"),
    _room("Nursery", "kids' room, children's room", "im Kinderzimmer", "de la chambre des enfants",
          "del cuarto de los niños", "della cameretta"),
    _room("Hallway", "corridor, entrance hall", "im Flur", "du couloir", "del pasillo", "del corridoio"),
    _room("Guest room", "spare room, visitors' room", "im Gästezimmer", "de la chambre d'amis",
          "del cuarto de invitados", "della camera degli ospiti"),
    _room("Attic", "loft, room under the roof", "auf dem Dachboden", "du grenier", "del desván",
          "della soffitta"),
    _room("Basement", "cellar, downstairs", "im Keller", "du sous-sol", "del sótano", "della cantina"),
    _room("Laundry", "wash room, utility room", "in der Waschküche", "de la buanderie", "de la lavandería",
          "della lavanderia"),
    _room("Library", "reading room, book room", "in der Bibliothek", "de la bibliothèque", "de la biblioteca",
          "della biblioteca"),
    _room("Gym", "fitness room, exercise room", "im Fitnessraum", "de la salle de sport", "del gimnasio",
          "della palestra"),
    _room("Workshop", "hobby room, tool room", "in der Werkstatt", "de l'atelier", "del taller",
          "dell'officina"),
    _room("Pantry", "larder, food store", "in der Speisekammer", "du garde-manger", "de la despensa",
          "della dispensa"),
    _room("Conservatory", "winter garden, glass room", "im Wintergarten", "de la véranda", "del invernadero",
          "della veranda"),
    _room("Music room", "piano room, practice room", "im Musikzimmer", "de la salle de musique",
          "de la sala de música", "della sala della musica"),
    _room("Sauna", "steam room, hot room", "in der Sauna", "du sauna", "de la sauna", "della sauna"),
    _room("Terrace", "patio, deck", "auf der Terrasse", "de la terrasse", "de la terraza", "della terrazza"),
)  # fmt: skip
CORE = (  # in every home: area, kind, label
    ("Living room", "light", "ceiling light"), ("Kitchen", "light", "ceiling light"),
    ("Bedroom", "light", "ceiling light"), ("Bedroom", "heating", "heating"),
    ("Living room", "shade", "shade"),
    ("Entrance", "lock", "door lock"), ("Garden", "pump", "pool pump"), ("Grid", "price", "energy price"),
)  # fmt: skip


@dataclass(slots=True)
class House:
    """A drawn home before anything is asked of it."""

    world: World
    rooms: tuple[Room, ...]
    people: tuple[str, str]

    def of_kind(self, kind: str) -> list[Entity]:
        """Its entities of a kind, in order."""
        return [one for one in self.world.entities.values() if one.kind == kind]

    def room(self, entity: Entity) -> Room | None:
        """The room of an entity; None: it is outside."""
        return next((one for one in self.rooms if one.name == entity.area), None)


def house(rng: Random, *, size: int) -> House:
    """A home with `size` entities, in the evening."""
    rooms = (*ROOMS[:3], *rng.sample(ROOMS[3:], N_ROOMS[size] - 3))
    first, second = rng.sample(PEOPLE, 2)
    world = World({}, rng.randrange(17 * 60, 20 * 60) * MINUTE_S)
    for name in (first, second):
        _add(world, rng, "", "person", name)
    placed = [*CORE, *(_outside() if size > SIZES[0] else ())]
    free = [
        (room.name, kind, label)
        for room in rooms
        for kind, one in KINDS.items()
        if not one.areas
        for label in one.labels
        if (room.name, kind, label) not in placed
    ]
    rng.shuffle(free)
    leading = {one[1]: one for one in reversed(free)}
    free.sort(key=lambda one: leading[one[1]] != one)  # one of each kind before the others
    for area, kind, label in [*placed, *free[: size - len(placed) - 2]]:
        _add(world, rng, area, kind, label)
    _draw_prices(world, rng)
    return House(world, rooms, (first, second))


def _outside() -> list[tuple[str, str, str]]:
    """The kinds with a place of their own, in all of their places."""
    every = [
        (area, one.name, one.labels[0]) for one in KINDS.values() if one is not PERSON for area in one.areas
    ]
    return [one for one in every if one not in CORE]


def _add(world: World, rng: Random, area: str, kind: str, label: str) -> None:
    name = f"{area} {label}".strip()
    slug = "".join(one if one.isalnum() else "_" for one in name.lower())
    state, attributes = KINDS[kind].start(rng)
    entity_id = f"{KINDS[kind].domain}.{slug}"
    world.entities[entity_id] = Entity(entity_id, kind, name, area, state, attributes, world.now)


def _draw_prices(world: World, rng: Random) -> None:
    """Give every hour to come another price, and let the sensor follow."""
    sensor = next(one for one in world.entities.values() if one.kind == "price")
    first = world.now - world.now % HOUR_S
    forecast = {}
    for number, cents in enumerate(rng.sample(range(12, 60), N_HOURS)):
        at, price = first + number * HOUR_S, f"{cents / 100:g}"
        forecast[clock_text(at)] = float(price)
        world.plan(at, sensor.entity_id, "", {"state": price}, is_agent=False)
        if number == 0:
            sensor.state = price
    sensor.attributes["forecast"] = forecast
