"""What ``python -m scheduler simulate`` is made of: loads, runs of the simulator, and reports of them."""
