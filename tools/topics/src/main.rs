//! Creates the topic catalogue on a broker, checks it, or renders it for Kubernetes.

fn main() {}
