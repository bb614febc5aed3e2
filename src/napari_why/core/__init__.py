"""What every room uses: errors, events, options, records, devices and files written as a whole."""
