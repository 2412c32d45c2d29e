"""The attacks: what each answers in place of the repository, and how our device must react.

They are the attacks of the specification (1.5.2: arbitrary software, rollback, freeze, endless
data, extraneous dependencies, mix and match, wrong software, slow retrieval, fast-forward, stolen
keys), those of the paper behind it (Survivable Key Compromise in Software Update Systems, section
2.2), and whatever else somebody on the way can send.

Each row attacks one file. The files before it in the order of an update are honest and new; a
device stores them, and nothing else. If the attacker has a key, the row says which. Rows of the
kind `control` are the same answers without the attack: devices must accept them. Each row ends with
the honest repository, which the device must accept in its stored state. So no row is refused only
because its fixture is broken.

The rows that test each of our defences:

| defence | rows |
|---|---|
| signatures, thresholds, one key under two ids (`File::verify`, `Key::is_same`) | `forged`, `roots` |
| one root after the other, by the old and the new keys (`TrustedRoot::follow`) | `roots` |
| `_type`, fields, numbers (`File::read`, `fields.rs`) | `forged`: another role's file; `signed`; `bodies` |
| versions that only grow (`take_timestamp`, `take_snapshot`) | `old`: rollback |
| expiry of each role (`expect_fresh`, `end_roots`) | `old`: freeze |
| lengths and digests that are listed (`Meta::check`, `Part::finish`) | `old`: full; `signed`: wrong listing; `forged`: target |
| versions that are listed (`expect_version`) | `old`: lean and bare, `signed`: a version that is not there |
| forgetting after a key was removed (`rotation.rs`) | `stolen`: fast-forward |
| delegations: order, paths, circles (`Search::ask`, `skip_asked`) | `stolen`: a party's and the bins' key |
| names of files (`names.rs`) | `names` |
| reading exactly what was signed (`canonical/`) | `meaning` |
| limits (`limits.rs`, `Connection::document`) | `bodies`: endless data, larger than any may be |
| silence, rate and deadline (`http.rs`, `patience.rs`) | `http`: slow retrieval |
| no token for other servers | `http`: moved to another host |
| the stored part of a target (`part.rs`) | `resumed` |
| a pack only fills a cache in front of all that (`pack.rs`, `device.rs`) | every row again, `test_packs`: the server's answers come in a pack; a slow, endless or redirected answer makes the pack so |
| one line that can't control a terminal (`say` in `main.rs`) | every refusal; `http`: a status with escapes; `names` |
"""

from . import bodies, forged, http, meaning, names, old, resumed, roots, signed, stolen
from .row import ATTACKS, BIN, NO_TARGET, REFUSED, TAKEN, Attack, Play, World
from .weaknesses import WEAKNESSES

__all__ = ["ATTACKS", "BIN", "NO_TARGET", "REFUSED", "TAKEN", "WEAKNESSES", "Attack", "Play", "World"]
