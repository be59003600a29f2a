def test_x(demo_release): pass
