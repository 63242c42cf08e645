"""The core's registers as docs/rtl.md maps them, written down apart from the RTL."""

OKAY, SLVERR = 0, 2

ID, VERSION, SHAPE, LIMITS, BLOCKS, CTRL, STATUS, ERROR, MODE = 0, 4, 8, 0xC, 0x10, 0x14, 0x18, 0x1C, 0x20
ROWS, OUTPUTS, GROUPS, GROUP_INPUTS = 0x24, 0x28, 0x2C, 0x30
COUNTER_BASE = 0x40
ID_VALUE = 0x53504B31  # "SPK1"
COUNTERS = (
    "cycles",
    "rows",
    "spikes",
    "saturated",
    "additions",
    "words",
    "skipped",
    "stall_membrane",
    "stall_store",
    "stall_spike",
    "stall_fire",
    "stall_weight",
    "stall_acc",
    *(f"rows_t{t}" for t in range(1, 8)),
)
ERRORS = (
    "rows",
    "outputs",
    "groups",
    "group_inputs",
    "frac_bits",
    "capacity",
    "timesteps",
    "membrane_last",
    "weight_last",
    "weight_range",
    "write_busy",
    "coding",
)
START, CLEAR = 1, 2
BUSY, DONE, FAULT = 1, 2, 4
