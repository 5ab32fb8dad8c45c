"""The network side: receiving, spool, intake, sending and verified delivery."""
