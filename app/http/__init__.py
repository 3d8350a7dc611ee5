"""The dashboard's server, its JSON routes and its Atom feed."""
