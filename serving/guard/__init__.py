"""What stands between the network and an answer: limits of a request, keys, rates, admission, rules for browsers."""
