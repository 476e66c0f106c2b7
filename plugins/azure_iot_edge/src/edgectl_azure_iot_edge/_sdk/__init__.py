"""Everything that talks to Azure: one verb a module. Imported by hooks only."""
