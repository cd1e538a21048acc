package main

// defaultBrokers is where a broker on this machine listens when it was told nothing.
const defaultBrokers = "127.0.0.1:9092"
