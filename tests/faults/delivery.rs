//! Webhook receivers and MQTT brokers that redirect, hang or refuse.
