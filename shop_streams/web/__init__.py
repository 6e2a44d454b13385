"""What browsers get: sources in `src/`, built at set-up into `dist/`. build.py builds, bundles.py reads what is built."""
