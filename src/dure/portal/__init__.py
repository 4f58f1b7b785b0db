"""The portal: pages rendered on the server, kept live by small fragments that a stream says to fetch again.

Trap: everything here lies below `base_path`, so no template or script may name an address that begins with a slash.
"""
