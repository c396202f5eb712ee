"""Every contender allocates as the image does, where that can be."""

from __future__ import annotations

from benchmarks import allocator


def test_what_is_not_installed_is_not_preloaded():
    assert allocator.preload(lambda _: None) == {}


def test_what_is_installed_is_preloaded_as_in_the_image():
    assert allocator.preload(lambda name: f"lib{name}.so.2") == {
        "LD_PRELOAD": "libjemalloc.so.2",
        "MALLOC_CONF": allocator.CONFIGURATION,
    }


def test_the_results_say_which_one_it_was(monkeypatch):
    for found, named in (({"LD_PRELOAD": "x"}, "jemalloc"), ({}, "the system's allocator")):
        monkeypatch.setattr(allocator, "preload", lambda found=found: found)
        assert allocator.name() == named
