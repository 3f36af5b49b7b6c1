"""From receipts and detection files to series: slots, matching, abundance, tables, and what checks and asks them."""
