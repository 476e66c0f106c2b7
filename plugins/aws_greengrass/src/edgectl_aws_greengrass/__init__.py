"""edgectl provider aws: SageMaker and AWS IoT Greengrass V2."""
