"""VM hosts of the embedded cloud: one QEMU process per instance, without root."""
