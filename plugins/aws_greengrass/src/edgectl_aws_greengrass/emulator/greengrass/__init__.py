"""The Greengrass V2 control and data plane: components, deployments, core devices."""
