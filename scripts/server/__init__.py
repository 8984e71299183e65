"""Starting, watching and stopping TorchServe and haproxy, and the clients that talk to them."""
