"""How a request shows who sent it: through the Hub, through a trusted proxy's header, or by one fixed token.

Trap: each adapter returns None for "not known"; whether that is a redirect to sign in or a 401 is the API's to decide.
"""
