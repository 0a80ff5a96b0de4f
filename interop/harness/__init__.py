"""What the stories are told with: a gateway, devices and applications, all of them real programs."""
