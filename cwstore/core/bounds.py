"""What one transaction of a long deletion does at most, so that no writer waits long for it.

Whichever bound comes first ends the transaction.
"""

ROWS_AT_A_TIME = 1_000
SECONDS_AT_A_TIME = 0.02

ROWS_A_STATEMENT = 100  # the time is looked at between statements
