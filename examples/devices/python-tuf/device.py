"""A device with python-tuf: device.py ROOT METADATA_URL TARGETS_URL STATE NAME OUT

    pip install tuf

ROOT is the root.json of the device's image. STATE is a folder that survives a reboot.
"""

import sys
from pathlib import Path

from tuf.ngclient import Updater

root, metadata_url, targets_url, state, name, out = sys.argv[1:]
Path(state).mkdir(parents=True, exist_ok=True)
updater = Updater(state, metadata_url, target_base_url=targets_url, bootstrap=Path(root).read_bytes())
updater.refresh()
target = updater.get_targetinfo(name)
if target is None:
    sys.exit(f"no target {name}")
# What is there already, with the right digest, is not downloaded again.
if updater.find_cached_target(target, out) is None:
    updater.download_target(target, out)
print(f"{name} is in {out}, verified")
