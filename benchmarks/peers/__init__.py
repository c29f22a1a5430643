"""Runners of the queues that ours is measured against, each at its best documented settings.

Every peer runs on the same embedded server, in a fresh database of its own, with the same durability, in worker
processes that are up and connected before the clock starts. Each takes *row jobs* (one recipient per job) and
*chunk jobs* (1,000 recipients per job); a null handler, or outcomes by recipient: 5 % are put off once by the peer's
own retry, 1 % are gone for good.

To be fair to them: no peer loads an address, checks a preference or renders anything; the wait of a retry is not
billed (it is made due at once, off the clock); what is gone is noted by one INSERT per thousand, not one each.
"""
