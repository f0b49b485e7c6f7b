using CsCheck;
using Worker.Vms.Simulated.Iommu;
using Xunit;

namespace Worker.Tests.Simulated;

/// <summary>virtio-iommu's requests and fault events, by bytes and against a model of single pages.</summary>
public sealed class VirtioIommuTests
{
    private const uint Endpoint = 8, Other = 9;

    private static VirtioIommu New() => new((1UL << 48) - 1, 255, new HashSet<uint> { Endpoint, Other });

    private static VirtioIommu Attached()
    {
        var iommu = New();
        Assert.Equal(VirtioStatus.Ok, iommu.Serve(VirtioIommu.AttachRequest(1, Endpoint)));
        return iommu;
    }

    [Fact]
    public void Requests_HaveTheStandardsBytes()
    {
        Assert.Equal([1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], VirtioIommu.AttachRequest(1, 8));
        Assert.Equal([2, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, .. new byte[8]], VirtioIommu.DetachRequest(1, 8));
        Assert.Equal(
            [3, 0, 0, 0, 1, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0xFF, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0],
            VirtioIommu.MapRequest(1, 0x1000, 0x1FFF, 0x5000, VirtioIommu.MapRead | VirtioIommu.MapWrite));
        Assert.Equal([4, 0, 0, 0, 1, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0xFF, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], VirtioIommu.UnmapRequest(1, 0x1000, 0x1FFF));
        Assert.Equal([5, 0, 0, 0, 8, 0, 0, 0, .. new byte[64]], VirtioIommu.ProbeRequest(8));
    }

    [Theory]
    [InlineData(0x1000, 0x1FFF, 0x5000, 3, VirtioStatus.Ok)]
    [InlineData(0x1000, 0x1FFF, 0x5000, 8, VirtioStatus.Invalid)]
    [InlineData(0x2000, 0x1FFF, 0x5000, 3, VirtioStatus.Invalid)]
    [InlineData(0x1001, 0x1FFF, 0x5000, 3, VirtioStatus.Range)]
    [InlineData(0x1000, 0x1FFE, 0x5000, 3, VirtioStatus.Range)]
    [InlineData(0x1000, 0x1FFF, 0x5001, 3, VirtioStatus.Range)]
    [InlineData(0x1000, 0x1_0000_0000_0FFF, 0x5000, 3, VirtioStatus.Range)]
    [InlineData(0x0800_0000, 0x0800_0FFF, 0x5000, 3, VirtioStatus.Invalid)]
    [InlineData(0xA000, 0xAFFF, 0x5000, 3, VirtioStatus.Invalid)]
    [InlineData(0x8000, 0xCFFF, 0x5000, 3, VirtioStatus.Invalid)]
    internal void Map_OfEachKind_HasItsStatus(ulong start, ulong end, ulong physical, uint flags, VirtioStatus status)
    {
        var iommu = Attached();
        iommu.Serve(VirtioIommu.MapRequest(1, 0xA000, 0xBFFF, 0x9000, 3));
        Assert.Equal(status, iommu.Serve(VirtioIommu.MapRequest(1, start, end, physical, flags)));
        Assert.Equal(VirtioStatus.NoEntry, iommu.Serve(VirtioIommu.MapRequest(2, start, end, physical, flags)));
    }

    [Fact]
    public void Unmap_NeverSplits()
    {
        var iommu = Attached();
        iommu.Serve(VirtioIommu.MapRequest(1, 0x1000, 0x2FFF, 0x5000, 3));
        Assert.Equal(VirtioStatus.Range, iommu.Serve(VirtioIommu.UnmapRequest(1, 0x1000, 0x1FFF)));
        Assert.True(iommu.TryTranslate(Endpoint, 0x2FFF, true, out var physical));
        Assert.Equal(0x6FFFUL, physical);
        Assert.Equal(VirtioStatus.Ok, iommu.Serve(VirtioIommu.UnmapRequest(1, 0, 0xFFFF)));
        Assert.Equal(VirtioStatus.Ok, iommu.Serve(VirtioIommu.UnmapRequest(1, 0, 0xFFFF)));
        Assert.Equal(VirtioStatus.NoEntry, iommu.Serve(VirtioIommu.UnmapRequest(3, 0, 0xFFFF)));
        Assert.False(iommu.TryTranslate(Endpoint, 0x1000, false, out _));
    }

    [Fact]
    public void AttachAndDetach_OfEachKind_HaveTheirStatus()
    {
        var iommu = New();
        Assert.Equal(VirtioStatus.NoEntry, iommu.Serve(VirtioIommu.AttachRequest(1, 77)));
        Assert.Equal(VirtioStatus.Range, iommu.Serve(VirtioIommu.AttachRequest(256, Endpoint)));
        Assert.Equal(VirtioStatus.Invalid, iommu.Serve(VirtioIommu.DetachRequest(1, Endpoint)));
        Assert.Equal(VirtioStatus.Ok, iommu.Serve(VirtioIommu.AttachRequest(1, Endpoint)));
        iommu.Serve(VirtioIommu.MapRequest(1, 0x1000, 0x1FFF, 0x5000, 3));
        // Another domain: the first one is left, and ends with its mappings.
        Assert.Equal(VirtioStatus.Ok, iommu.Serve(VirtioIommu.AttachRequest(2, Endpoint)));
        Assert.Equal(1, iommu.Domains);
        Assert.Equal(VirtioStatus.Invalid, iommu.Serve(VirtioIommu.DetachRequest(1, Endpoint)));
        Assert.Equal(VirtioStatus.Ok, iommu.Serve(VirtioIommu.DetachRequest(2, Endpoint)));
        Assert.Equal(0, iommu.Domains);
        Assert.Equal(VirtioStatus.Unsupported, iommu.Serve([9, 0, 0, 0]));
        Assert.Equal(VirtioStatus.Invalid, iommu.Serve([3, 0, 0, 0, 1]));
        Assert.Equal(VirtioStatus.Invalid, iommu.Serve([]));
    }

    [Fact]
    public void Probe_TellsTheReservedRegion()
    {
        var properties = new byte[VirtioIommu.ProbeBytes];
        Assert.Equal(VirtioStatus.Ok, New().Serve(VirtioIommu.ProbeRequest(Endpoint), properties));
        Assert.Equal([1, 0, 20, 0, 1, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0xFF, 0xFF, 0x0F, 8, 0, 0, 0, 0, .. new byte[40]], properties);
        Assert.Equal(VirtioStatus.NoEntry, New().Serve(VirtioIommu.ProbeRequest(77), properties));
        Assert.Equal(VirtioStatus.Invalid, New().Serve(VirtioIommu.ProbeRequest(Endpoint), new byte[8]));
    }

    [Fact]
    public void Fault_BecomesAnEvent_AndOneWithoutABufferIsLost()
    {
        var iommu = Attached();
        Assert.False(iommu.TryTranslate(Other, 0x1234, false, out _));
        Assert.False(iommu.TryTranslate(Endpoint, 0x7F00_1234, true, out _));
        Assert.True(iommu.TryTakeEvent(out var domain));
        Assert.Equal([1, 0, 0, 0, 1, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0], domain);
        Assert.True(iommu.TryTakeEvent(out var mapping));
        Assert.Equal([2, 0, 0, 0, 2, 1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0x34, 0x12, 0, 0x7F, 0, 0, 0, 0], mapping);
        for (var fault = 0; fault < 70; fault++)
            iommu.TryTranslate(Endpoint, 0, false, out _);
        Assert.Equal((66L, 6L), (iommu.FaultsRecorded, iommu.FaultsLost));
    }

    [Fact]
    public void AnyRequests_TranslateAsAModelOfSinglePagesDoes() => Gen.Select(Gen.Int[0, 5], Gen.UInt[0, 1], Gen.Int[0, 15], Gen.Int[0, 4], Gen.UInt[0, 3]).Array[1, 60].Sample(steps =>
    {
        var iommu = New();
        var attached = new uint?[2];
        var pages = new Dictionary<(uint Domain, int Page), (int Mapping, ulong Physical, uint Flags)>();
        var number = 0;
        foreach (var (what, which, page, length, flags) in steps)
        {
            var (start, end) = ((ulong)page << 12, ((ulong)(page + length + 1) << 12) - 1);
            switch (what)
            {
                case 0:
                    iommu.Serve(VirtioIommu.AttachRequest(which, Endpoint + (flags & 1)));
                    attached[flags & 1] = which;
                    break;
                case 1:
                    if (iommu.Serve(VirtioIommu.DetachRequest(which, Endpoint + (flags & 1))) == VirtioStatus.Ok != (attached[flags & 1] == which))
                        return false;
                    if (attached[flags & 1] == which)
                        attached[flags & 1] = null;
                    break;
                case 2 or 3:
                    var free = attached.Contains(which) && Enumerable.Range(page, length + 1).All(p => !pages.ContainsKey((which, p)));
                    if (iommu.Serve(VirtioIommu.MapRequest(which, start, end, (ulong)(++number) << 24, flags)) == VirtioStatus.Ok != free)
                        return false;
                    for (var one = 0; free && one <= length; one++)
                        pages[(which, page + one)] = (number, ((ulong)number << 24) + ((ulong)one << 12), flags);
                    break;
                default:
                    var covered = pages.Where(p => p.Key.Domain == which && p.Key.Page >= page && p.Key.Page <= page + length).ToList();
                    var whole = attached.Contains(which) && covered.All(c => pages.Where(p => p.Value.Mapping == c.Value.Mapping).All(p => covered.Contains(p)));
                    if (iommu.Serve(VirtioIommu.UnmapRequest(which, start, end)) == VirtioStatus.Ok != whole)
                        return false;
                    if (whole)
                        covered.ForEach(c => pages.Remove(c.Key));
                    break;
            }
            foreach (var domain in pages.Keys.Select(key => key.Domain).Distinct().Where(domain => !attached.Contains(domain)).ToList())
                foreach (var key in pages.Keys.Where(key => key.Domain == domain).ToList())
                    pages.Remove(key);
            for (var endpoint = 0u; endpoint < 2; endpoint++)
                for (var look = 0; look < 20; look++)
                {
                    var known = attached[endpoint] is { } domain && pages.TryGetValue((domain, look), out var found) ? found : default;
                    foreach (var write in (bool[])[false, true])
                        if (iommu.TryTranslate(Endpoint + endpoint, ((ulong)look << 12) + 5, write, out var physical) != ((known.Flags & (write ? 2 : 1)) != 0) || (physical != 0 && physical != known.Physical + 5))
                            return false;
                }
        }
        return true;
    }, iter: 500);
}
