"""What talks to AWS: one verb a module; imported by hook bodies only, since boto3 is heavy."""
