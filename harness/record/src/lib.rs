//! Runs a program under ptrace and seccomp and writes down what it does to its files.
