using Microsoft.Extensions.Logging.Abstractions;
using Worker.Faults;
using Worker.Hardware;
using Worker.Hardware.Pci;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class HostSmmuEventsTests : IDisposable
{
    private static readonly PciAddress Mine = Address("0000:01:00.0");
    private readonly TemporaryDirectory _root = new();
    private string State => Path.Combine(_root.FullPath, "state");
    private string Log => Path.Combine(_root.FullPath, "kmsg");

    public void Dispose() => _root.Dispose();

    [Theory]
    [InlineData("4,812,1234567,-;arm-smmu-v3 9050000.smmuv3: event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0xffff8000 ipa: 0x0", "F_TRANSLATION")]
    [InlineData("3,812,1,c,caller=T7;arm-smmu-v3 arm-smmu-v3.5.auto: event: C_BAD_STE client: 0000:01:00.0 sid: 0x100", "C_BAD_STE")]
    public void Parse_OfAnEventLine_IsWhoseAndWhat(string record, string type) => Assert.Equal(new LoggedSmmuEvent(812, Mine, type), HostSmmuEvents.Parse(record));

    [Theory]
    [InlineData("4,812,1,-;arm-smmu-v3 9050000.smmuv3: event 0x10 received:")]
    [InlineData("4,812,1,-;arm-smmu-v3 9050000.smmuv3: event: F_TRANSLATION client: (unassigned sid) sid: 0x100")]
    [InlineData("4,812,1,-;arm-smmu-v3 9050000.smmuv3: event: f_translation client: 0000:01:00.0 sid: 0x100")]
    [InlineData("4,812,1,-;mydriver: arm-smmu-v3 x: event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100")]
    [InlineData("4,99999999999999999999999,1,-;arm-smmu-v3 x: event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100")]
    [InlineData("")]
    public void Parse_OfAnythingElse_IsNull(string record) => Assert.Null(HostSmmuEvents.Parse(record));

    [Theory]
    [InlineData("6.17.0", "KernelLogNamesNoDevice")]
    [InlineData("7.3.4", "KernelLogUnreadable")]
    public void Read_WhenTheLogCannotTell_HasTheReason(string kernel, string reason)
    {
        using var events = new HostSmmuEvents(Log, new KernelFacts(kernel, null), TimeProvider.System, NullLogger.Instance);
        Assert.Equal(reason, events.Track([Mine], State).Read().Reason);
    }

    [Fact]
    public void Read_CountsOwnEventsOnce_OverARestartToo()
    {
        // One record a read, as the kernel gives them: a fifo's writer does the same here.
        using var log = new Records(Log);
        using var events = Open();
        log.Write(1, "0000:01:00.0");
        var counter = events.Track([Mine], State);
        Assert.Empty(counter.Read().Events);
        log.Write(2, "0000:01:00.0");
        log.Write(3, "0000:02:00.0");
        Assert.Equal(1, counter.Read().Events["F_TRANSLATION"]);
        Assert.Equal(1, counter.Read().Events["F_TRANSLATION"]);

        // The next worker reads the ring from its beginning.
        using var next = Open();
        foreach (var sequence in (ulong[])[1, 2, 4])
            log.Write(sequence, "0000:01:00.0");
        Assert.Equal(2, next.Track([Mine], State).Read().Events["F_TRANSLATION"]);
    }

    [Fact]
    public void Read_WhenTheCountsCannotBeStored_CountsOn()
    {
        using var log = new Records(Log);
        using var events = Open();
        log.Write(1, "0000:01:00.0");
        var counter = events.Track([Mine], Path.Combine(_root.FullPath, "absent", "state"));
        log.Write(2, "0000:01:00.0");
        Assert.Equal(1, counter.Read().Events["F_TRANSLATION"]);
        Assert.Equal(1, counter.Read().Events["F_TRANSLATION"]);
    }

    [Fact]
    public void Read_WhenTheSmmusQueueWasFull_SaysThatEventsMayBeMissing_OverARestartToo()
    {
        using var log = new Records(Log);
        using var events = Open();
        log.WriteLine("3,1,1,-;arm-smmu-v3 9050000.smmuv3: EVTQ overflow detected -- events lost");
        var counter = events.Track([Mine], State);
        Assert.False(counter.Read().MayHaveLost);
        log.WriteLine("3,2,1,-;mydriver: arm-smmu-v3 x: EVTQ overflow detected -- events lost");
        Assert.False(counter.Read().MayHaveLost);
        log.WriteLine("3,3,1,-;arm-smmu-v3 9050000.smmuv3: EVTQ overflow detected -- events lost");
        Assert.True(counter.Read().MayHaveLost);
        log.Write(4, "0000:01:00.0");
        Assert.True(counter.Read() is { MayHaveLost: true, Events.Count: 1 });
        using var next = Open();
        Assert.True(next.Track([Mine], State).Read().MayHaveLost);
    }

    [Fact]
    public void Read_WhenTheLogCannotBeRead_MayHaveMissedAFullQueue()
    {
        using var events = Open();
        Assert.True(events.Track([Mine], State).Read().MayHaveLost);
    }

    private HostSmmuEvents Open() => new(Log, new KernelFacts("7.3.4", null), TimeProvider.System, NullLogger.Instance);

    private static PciAddress Address(string text) => PciAddress.TryParse(text, out var address) ? address : throw new ArgumentException(text);

    /// <summary>A pipe of padded records, each as long as a reader takes at once.</summary>
    private sealed class Records : IDisposable
    {
        private const int RecordBytes = 8192;
        private readonly FileStream _pipe;

        public Records(string path)
        {
            using var made = System.Diagnostics.Process.Start("mkfifo", [path]);
            made.WaitForExit();
            _pipe = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        }

        public void Write(ulong sequence, string function) => WriteLine($"4,{sequence},1,-;arm-smmu-v3 9050000.smmuv3: event: F_TRANSLATION client: {function} sid: 0x100 ssid: 0x0 iova: 0x0");

        public void WriteLine(string record) => _pipe.Write(System.Text.Encoding.ASCII.GetBytes(record.PadRight(RecordBytes)));

        public void Dispose() => _pipe.Dispose();
    }
}
