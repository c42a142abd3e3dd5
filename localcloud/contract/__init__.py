"""What this cloud takes to be true of AWS, and the checks that hold it against a cloud."""
