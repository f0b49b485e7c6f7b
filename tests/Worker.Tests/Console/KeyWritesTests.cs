using System.Text;
using Worker.Console;
using Xunit;

namespace Worker.Tests.Console;

public sealed class KeyWritesTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    /// <summary>Takes nothing until it is opened, then each write whole.</summary>
    private sealed class SlowGuest : Stream
    {
        private readonly TaskCompletionSource _open = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public List<byte[]> Writes { get; } = [];
        public TaskCompletionSource Begun { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public string Text => Encoding.Latin1.GetString([.. Writes.SelectMany(w => w)]);

        public void Open() => _open.TrySetResult();
        public void Break() => _open.TrySetException(new IOException("broken"));

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            Begun.TrySetResult();
            await _open.Task;
            Writes.Add(buffer.ToArray());
        }

        public override bool CanRead => false;
        public override bool CanSeek => false;
        public override bool CanWrite => true;
        public override long Length => throw new NotSupportedException();
        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }
        public override void Flush() { }
        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();
        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
        public override void SetLength(long value) => throw new NotSupportedException();
        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }

    private static byte[] Key(int which) => [(byte)('a' + which % 26)];

    [Fact]
    public async Task Write_OfManyKeysWhileTheGuestDoesNotRead_LosesNoneAndMergesThem()
    {
        await using var guest = new SlowGuest();
        var keys = new KeyWrites(guest);
        var first = keys.WriteAsync(Key(0), Ct);
        await guest.Begun.Task.WaitAsync(Limit, Ct);
        var rest = Enumerable.Range(1, 999).Select(i => keys.WriteAsync(Key(i), Ct)).ToList();
        guest.Open();
        await Task.WhenAll([first, .. rest]).WaitAsync(Limit, Ct);
        Assert.Equal(string.Concat(Enumerable.Range(0, 1000).Select(i => (char)Key(i)[0])), guest.Text);
        Assert.Equal(2, guest.Writes.Count);
    }

    [Fact]
    public async Task Write_BeyondTheBound_IsAnIoException_AndFitsAgainOnceTheGuestHasRead()
    {
        await using var guest = new SlowGuest();
        var keys = new KeyWrites(guest);
        var full = keys.WriteAsync(new byte[KeyWrites.MaxWaitingBytes], Ct);
        Assert.Contains("wait already", (await Assert.ThrowsAsync<IOException>(() => keys.WriteAsync(Key(0), Ct))).Message, StringComparison.Ordinal);
        guest.Open();
        await full.WaitAsync(Limit, Ct);
        await keys.WriteAsync(Key(1), Ct).WaitAsync(Limit, Ct);
        Assert.EndsWith("b", guest.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Write_ThatIsGivenUpBeforeItBegan_IsNotSent()
    {
        await using var guest = new SlowGuest();
        var keys = new KeyWrites(guest);
        var first = keys.WriteAsync("x"u8.ToArray(), Ct);
        await guest.Begun.Task.WaitAsync(Limit, Ct);
        using var impatient = new CancellationTokenSource();
        var given = keys.WriteAsync("y"u8.ToArray(), impatient.Token);
        var last = keys.WriteAsync("z"u8.ToArray(), Ct);
        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => given.WaitAsync(Limit, Ct));
        guest.Open();
        await Task.WhenAll(first, last).WaitAsync(Limit, Ct);
        Assert.Equal("xz", guest.Text);
    }

    [Fact]
    public async Task Write_WhenTheConnectionBreaks_TellsEveryWriter()
    {
        await using var guest = new SlowGuest();
        var keys = new KeyWrites(guest);
        var both = new[] { keys.WriteAsync(Key(0), Ct), keys.WriteAsync(Key(1), Ct) };
        guest.Break();
        foreach (var one in both)
            Assert.Equal("broken", (await Assert.ThrowsAsync<IOException>(() => one.WaitAsync(Limit, Ct))).Message);
    }
}
