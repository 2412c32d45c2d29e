"""The attacks: what each answers in the place of the repository, and what a device of ours must make of it.

Those of the specification (1.5.2: arbitrary software, rollback, freeze, endless data, extraneous dependencies, mix and match, wrong
software, slow retrieval, fast-forward, stolen keys) and of the paper behind it (Survivable Key Compromise in Software Update Systems,
section 2.2), and what else somebody on the way can send.

Each row is about one file; what stands before it in the order of an update is honest and new, so a device stores that on the way, and
nothing else. A row that somebody with a key plays says which. Rows of the kind `control` are the same answers without the attack: those must
be taken. The honest repository ends each row, and is taken with what is stored: so no row is refused for a fixture that is broken.

Which rows show which defence of ours:

| defence | rows |
|---|---|
| signatures, thresholds, one key under two ids (`File::verify`, `Key::is_same`) | `forged`, `roots` |
| one root after the other, by the old and the new keys (`TrustedRoot::follow`) | `roots` |
| `_type`, fields, numbers (`File::read`, `fields.rs`) | `forged`: another role's file; `signed`; `bodies` |
| versions that only grow (`take_timestamp`, `take_snapshot`) | `old`: rollback |
| expiry of each role (`expect_fresh`, `end_roots`) | `old`: freeze |
| lengths and digests that are listed (`Meta::check`, `Part::finish`) | `old`: full; `signed`: wrong listing; `forged`: target |
| versions that are listed (`expect_version`) | `old`: lean and bare, `signed`: a version that is not there |
| what is forgotten where a key is taken away (`rotation.rs`) | `stolen`: fast-forward |
| delegations: order, paths, circles (`Search::ask`, `skip_asked`) | `stolen`: a party's and the bins' key |
| names of files (`names.rs`) | `names` |
| what is signed is what is read (`canonical/`) | `meaning` |
| limits (`limits.rs`, `Connection::document`) | `bodies`: endless data, larger than any may be |
| silence, rate and deadline (`http.rs`, `patience.rs`) | `http`: slow retrieval |
| no token for other servers | `http`: moved to another host |
| what is kept of a target (`part.rs`) | `resumed` |
| a pack fills a cache in front of all that, and no more (`pack.rs`, `device.rs`) | every row again, `test_packs`: what the server answers by name comes in a pack; where that is slow, endless or elsewhere, the pack is |
| one line that does nothing to a terminal (`say` in `main.rs`) | every refusal; `http`: a status with escapes; `names` |
"""

from . import bodies, forged, http, meaning, names, old, resumed, roots, signed, stolen
from .row import ATTACKS, BIN, NO_TARGET, REFUSED, TAKEN, Attack, Play, World
from .weaknesses import WEAKNESSES

__all__ = ["ATTACKS", "BIN", "NO_TARGET", "REFUSED", "TAKEN", "WEAKNESSES", "Attack", "Play", "World"]
