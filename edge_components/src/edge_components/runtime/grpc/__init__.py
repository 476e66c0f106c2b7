"""The Open Inference Protocol over gRPC; needs the extra ``grpc``, imported only where it is on."""
