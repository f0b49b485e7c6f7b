using System.Text;
using System.Text.Json;
using Contracts;
using Testing;
using Xunit;

namespace Api.Tests.Webhooks;

/// <summary>A real delivery, verified by the reference library from npm.</summary>
public sealed class StandardWebhooksTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(90);

    [Fact]
    public async Task Delivery_IsVerifiedByTheReferenceLibrary_WithEitherSecret_AndOnlyUntampered()
    {
        var directory = await LibraryAsync();
        await using var bench = await WebhookBench.StartAsync(service);
        await using var receiver = await WebhookReceiver.StartAsync();
        var created = await bench.CreateAsync(receiver.Url);
        var rotated = await bench.PostAsync<WebhookSecretView>($"/v1/webhooks/{created.Webhook.Id}/rotate-secret", new { }, System.Net.HttpStatusCode.OK);
        await bench.PostAsync<WebhookDeliveryView>($"/v1/webhooks/{created.Webhook.Id}/test");
        await Eventually.Async(() => receiver.Received.Count == 1, "it is delivered", _patience);
        var got = receiver.Received[0];
        var body = Encoding.UTF8.GetString(got.Body);
        Assert.Equal("verified webhook.test", await VerifyAsync(directory, created.Secret, got, body));
        Assert.Equal("verified webhook.test", await VerifyAsync(directory, rotated.Secret, got, body));
        Assert.StartsWith("refused", await VerifyAsync(directory, created.Secret, got, body + " "), StringComparison.Ordinal);
        Assert.StartsWith("refused", await VerifyAsync(directory, "whsec_" + Convert.ToBase64String(new byte[32]), got, body), StringComparison.Ordinal);
    }

    private static async Task<string> VerifyAsync(string directory, string secret, Received got, string body)
    {
        var file = Path.Combine(directory, "delivery.json");
        var headers = new Dictionary<string, string> { ["webhook-id"] = got.Id, ["webhook-timestamp"] = got.Timestamp, ["webhook-signature"] = got.Signature };
        await File.WriteAllTextAsync(file, JsonSerializer.Serialize(new { secret, headers, body }), TestContext.Current.CancellationToken);
        await using var node = ProcessUnderTest.Start("node", ["verify.mjs", file], workingDirectory: directory);
        await node.WaitForExitAsync(_patience);
        return node.Output.Trim();
    }

    /// <summary>A directory with the library as the lock file pins it; skips the test where no registry can be reached and npm has it in no cache.</summary>
    private static async Task<string> LibraryAsync()
    {
        var directory = Surroundings.NewDirectory("standardwebhooks");
        foreach (var file in (string[])["package.json", "package-lock.json", ".npmrc", "verify.mjs"])
            File.Copy(Path.Combine(Surroundings.Repository, "tests/Api.Tests/Webhooks/StandardWebhooks", file), Path.Combine(directory, file));
        await using var npm = ProcessUnderTest.Start("npm", ["ci", "--ignore-scripts", "--prefer-offline", "--no-audit"], workingDirectory: directory);
        Assert.SkipUnless(await npm.WaitForExitAsync(_patience) == 0, $"npm could not fetch the reference library standardwebhooks: {npm.Output}");
        return directory;
    }
}
