"""The public pages as files that open without a server, without Python and without the network."""
