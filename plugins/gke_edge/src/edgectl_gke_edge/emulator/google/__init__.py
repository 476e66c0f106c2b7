"""Google's APIs of one project: clusters, fleet, access, and the way through connect gateway.

The messages are the client libraries' own, so a request that the libraries would send is a request
that is understood here, and an answer has all its fields.
"""
