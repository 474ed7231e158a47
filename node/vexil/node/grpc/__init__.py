"""gRPC for stock flagd clients: a plain ASGI app, on the node's main port and on ports bound to one environment.

`app`          one call: from its headers to its trailers
`framing`      messages in and out of a stream of bytes
`statuses`     how a call can end, and what it says then
`call`         one call, as a handler meets it
`places`       which environment a call is about, and whether its caller may ask
`selectors`    which flag set a flagd client asks for
`structs`      protobuf's JSON and ours
`evaluation`   ``flagd.evaluation.v1`` and ``v2``: flags evaluated here
`events`       their stream: which flags have changed
`sync`         ``flagd.sync.v1``: whole documents, evaluated there
`watching`     streams: what wakes them, and what ends them
`services`     every method by its path
`proto`        the messages; generated, see `make proto`
"""
