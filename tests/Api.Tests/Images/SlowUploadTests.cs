using System.Net;
using System.Threading.Channels;
using Api.Images;
using Api.Tests.NodeLife;
using Contracts;
using Microsoft.Extensions.Time.Testing;
using Testing;
using Xunit;
using static Api.Tests.Images.ImageCalls;

namespace Api.Tests.Images;

/// <summary>Senders that are too slow, by a clock that the tests move.</summary>
public sealed class SlowUploadTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private Task<long> ChunksAsync(byte[] bytes) => service.ScalarAsync($"SELECT count(*) FROM image_chunks k JOIN image_contents c ON c.id = k.content_id WHERE c.sha256 = '{Sha256(bytes)}'");

    private Task<long> ContentsAsync(byte[] bytes) => service.ScalarAsync($"SELECT count(*) FROM image_contents WHERE sha256 = '{Sha256(bytes)}'");

    [Fact]
    public async Task Upload_OfASenderWhoStops_EndsAfterAMinute_AndNothingIsKept()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var replica = service.Replica(time);
        using var client = await service.TenantClientAsync("stops", replica);
        var kernel = Random(ContentStore.ChunkBytes + 100);
        var id = (await client.RegisterAsync(OfKernel("own", kernel))).Id!.Value;
        var parts = Channel.CreateUnbounded<int>();
        parts.Writer.TryWrite(ContentStore.ChunkBytes + 1);
        var sending = client.PutAsync($"/v1/images/{id}/files/kernel", new PartedContent(kernel, parts.Reader), TestContext.Current.CancellationToken);
        await Eventually.Async(async () => await ChunksAsync(kernel) == 1, "a chunk of it is here", Patience);
        time.Advance(ContentStore.ChunkPatience - TimeSpan.FromSeconds(1));
        Assert.False(sending.IsCompleted);
        // Whenever it has begun to wait.
        await Eventually.Async(() => { time.Advance(TimeSpan.FromSeconds(20)); return sending.IsCompleted; }, "it is answered", Patience);
        using var refused = await sending;
        Assert.Equal("408 upload_too_slow", await refused.AnswerAsync());
        Assert.Equal(0, await ContentsAsync(kernel));
        parts.Writer.Complete();
        Assert.Equal("200", await client.UploadAsync(id, "kernel", kernel));
    }

    /// <summary>Each MiB within its minute, and yet the whole would hold its place for hours.</summary>
    [Fact]
    public async Task Upload_OfASenderWhoIsSlowThroughout_Ends_AndNothingIsKept()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var replica = service.Replica(time);
        using var client = await service.TenantClientAsync("dawdles", replica);
        var kernel = Random(16 * ContentStore.ChunkBytes);
        var id = (await client.RegisterAsync(OfKernel("own", kernel))).Id!.Value;
        var parts = Channel.CreateUnbounded<int>();
        var sending = client.PutAsync($"/v1/images/{id}/files/kernel", new PartedContent(kernel, parts.Reader), TestContext.Current.CancellationToken);
        var chunks = 0;
        while (chunks < 16 && !sending.IsCompleted)
        {
            parts.Writer.TryWrite(ContentStore.ChunkBytes);
            chunks++;
            await Eventually.Async(async () => sending.IsCompleted || await ChunksAsync(kernel) == chunks, "the next chunk is here", Patience);
            time.Advance(ContentStore.ChunkPatience - TimeSpan.FromSeconds(1));
        }
        parts.Writer.TryComplete();
        using var refused = await sending;
        Assert.Equal("408 upload_too_slow", await refused.AnswerAsync());
        Assert.InRange(chunks, 11, 13);
        Assert.Equal(0, await ContentsAsync(kernel));
    }

    /// <summary>Sends as many bytes as the test says, when it says so.</summary>
    private sealed class PartedContent(byte[] bytes, ChannelReader<int> parts) : HttpContent
    {
        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            var sent = 0;
            await foreach (var count in parts.ReadAllAsync())
            {
                await stream.WriteAsync(bytes.AsMemory(sent, count));
                await stream.FlushAsync();
                sent += count;
            }
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }
}
