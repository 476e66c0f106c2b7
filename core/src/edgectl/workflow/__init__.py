"""The steps of the main job, as functions: train, register, package, plan, deploy."""
