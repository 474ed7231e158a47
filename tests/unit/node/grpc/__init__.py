"""gRPC for stock flagd clients."""
