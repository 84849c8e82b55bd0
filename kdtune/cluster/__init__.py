"""Clusters: what describes one, checked before it costs money, and the jobs that run on one."""
