import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("ray") else ["*"]  # Ray is an extra
