"""The telemetry endpoint: AMQP 1.0 as Event Hubs speaks it, over what devices sent to the hub."""
