//! What is run: workload.toml, its build, its setup and its command.
