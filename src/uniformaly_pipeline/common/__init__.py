"""What every room uses: errors, progress, bundles of arrays, the origin of a result."""
