"""The paper's tables and figures from the results of several tasks, and the page of them."""
