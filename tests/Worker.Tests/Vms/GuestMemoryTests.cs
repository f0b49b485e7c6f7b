using Worker.Hardware;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

public sealed class GuestMemoryTests
{
    private const int Small = 2048, Large = 524_288, Giant = 1 << 20;

    private static NumaNode Node(int number, string? cpus, params (int Kib, long Free)[] pages) =>
        new(number, cpus, 1 << 20, [.. pages.Select(p => new HugePages(p.Kib, 1000, p.Free))]);

    private static readonly NumaNode[] Two = [Node(0, "0-63", (Small, 4096)), Node(1, "64-127", (Small, 256), (Large, 1))];

    private static readonly Dictionary<string, (int Mib, int? Device, NumaNode[] Host, GuestMemory Expected)> Cases = new()
    {
        ["nothing known of the host"] = (512, 0, [], new(512, null, null, null)),
        ["one node without huge pages"] = (512, null, [Node(0, "0-7")], new(512, null, null, null)),
        ["one node with enough"] = (512, null, [Node(0, "0-7", (Small, 256))], new(512, Small, null, null)),
        ["one node with one too few"] = (512, null, [Node(0, "0-7", (Small, 255))], new(512, null, null, null)),
        ["one node that is not the device's, by number"] = (512, 3, [Node(0, "0-7", (Small, 256))], new(512, Small, null, null)),
        ["the largest of which enough are free"] = (1024, null, [Node(0, "0-7", (Small, 512), (Large, 2), (Giant, 0))], new(1024, Large, null, null)),
        ["sizes that do not divide the memory"] = (768, null, [Node(0, "0-7", (Small, 384), (Large, 9), (Giant, 9))], new(768, Small, null, null)),
        ["the device's node of two, enough there"] = (512, 1, Two, new(512, Large, 1, "64-127")),
        ["the device's node of two, enough only on the other"] = (4096, 1, Two, new(4096, null, 1, "64-127")),
        ["the other node of two"] = (4096, 0, Two, new(4096, Small, 0, "0-63")),
        ["two nodes, no device tells where"] = (512, null, Two, new(512, null, null, null)),
        ["two nodes, the device is on a third"] = (512, 2, Two, new(512, null, null, null)),
        ["a node without CPUs"] = (512, 2, [.. Two, Node(2, "")], new(512, null, 2, null)),
        ["a node whose CPUs are unread"] = (512, 2, [.. Two, Node(2, null)], new(512, null, 2, null)),
        ["a node whose list is a trick"] = (512, 2, [.. Two, Node(2, "0-3 --pid 1")], new(512, null, 2, null)),
    };

    public static TheoryData<string> CaseNames => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(CaseNames))]
    public void Near_OfEachHost_IsThis(string name)
    {
        var (mib, device, host, expected) = Cases[name];
        Assert.Equal(expected, GuestMemory.Near(mib, device, host));
    }
}
