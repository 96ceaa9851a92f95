"""Memory that a client shares with the server: tensors that travel in neither protocol's messages.

Bytes are copied in when a request is read and copied out before its answer is sent; nothing here is ever mapped, so
that what a client does to its memory (shrink it, change it while it is read) can neither kill the server nor change a
tensor after it was checked. docs/decisions/0005-shared-memory.md has the reasons and what they cost.
"""

from jubako.protocols.shared_memory.copies import Copies as Copies
from jubako.protocols.shared_memory.cuda import HANDLE_SIZE as HANDLE_SIZE
from jubako.protocols.shared_memory.memory import Memory as Memory
from jubako.protocols.shared_memory.regions import NO_REGIONS as NO_REGIONS
from jubako.protocols.shared_memory.regions import Kind as Kind
from jubako.protocols.shared_memory.regions import Place as Place
from jubako.protocols.shared_memory.regions import Region as Region
from jubako.protocols.shared_memory.regions import Regions as Regions
from jubako.protocols.shared_memory.regions import Slot as Slot
