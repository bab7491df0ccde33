"""Recall, measured: what searches of a collection find, beside what an exact scan finds, and what follows from it.

ladder     the rungs that are measured: ever larger values of the parameter that an index kind is widened by
evidence   what was measured of queries of one sort, and which rung is enough for a wanted recall
watch      what is known of one collection; lets the sampler have a search now and then
measure    answers queries exactly, piece by piece, and on every rung
sampler    the thread that does so, within a budget
aim        answers a search that wants a recall (`target_recall`)
report     what was measured, and what to raise
"""
