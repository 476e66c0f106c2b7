"""What moto lacks of AWS IoT: jobs that reach things, rules that run, shadows with deltas."""
