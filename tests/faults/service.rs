//! The program under a service manager: readiness, watchdog, health.
