"""The nucleus's IPC service: event-stream RPC over a unix socket."""
