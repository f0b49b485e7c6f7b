using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Contracts;
using Testing;
using Xunit;

namespace Api.Tests.Fuzz;

/// <summary>Every endpoint is asked anything, by two teams in turn: none fails of itself, and neither team sees what is the other's.</summary>
public sealed class FuzzTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private const int Requests = 20_000, Askers = 8;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>A team with one of each thing, all named so that it is known wherever it is told.</summary>
    private sealed record Team(string Mark, string Secret, IReadOnlyList<Guid> Things);

    private async Task<Team> TeamAsync(string mark)
    {
        var tenant = await service.TenantAsync(mark, new { maxSandboxes = 40 });
        using var admin = service.ClientOf(tenant.Secret);
        var asker = await admin.KeyAsync("asker", Role.Admin);
        var key = (await admin.KeyAsync($"{mark}-key", Role.Viewer)).Key.Id;
        var sandbox = (await MadeAsync<SandboxView>(admin, "/v1/sandboxes", new { name = $"{mark}-sandbox", image = "guest", node = "nowhere", labels = new { team = mark }, userData = $"#!/bin/sh\necho {mark}\n" })).Id;
        var webhook = (await MadeAsync<WebhookCreated>(admin, "/v1/webhooks", new { url = $"https://{mark}.example/hook", enabled = false })).Webhook.Id;
        var image = (await MadeAsync<ImageView>(admin, "/v1/images", Images.ImageCalls.OfKernel($"{mark}-image", [1]))).Id!.Value;
        return new Team(mark, asker.Secret, [tenant.Project, key, sandbox, webhook, image]);
    }

    private static async Task<T> MadeAsync<T>(HttpClient client, string path, object body)
    {
        using var response = await client.PostAsJsonAsync(path, body);
        Assert.True(response.StatusCode == HttpStatusCode.Created, await response.Content.ReadAsStringAsync());
        return (await response.Content.ReadFromJsonAsync<T>())!;
    }

    [Fact]
    public async Task EveryEndpoint_OfAnything_FailsNotOfItself_AndTellsNothingOfAnotherProject()
    {
        await using var node = await service.NodeAsync();
        Team[] teams = [await TeamAsync("quokka-red"), await TeamAsync("quokka-blue")];
        using var reader = service.Client();
        var document = JsonNode.Parse(await reader.GetStringAsync("/openapi/v1.json"))!;
        var ids = teams.SelectMany(t => t.Things).ToList();
        var (asked, wrong, answered) = (0, new List<string>(), new Dictionary<string, HashSet<int>>());
        await Task.WhenAll(Enumerable.Range(0, Askers).Select(n => Task.Run(async () =>
        {
            var (team, other) = (teams[n % 2], teams[1 - (n % 2)]);
            using var client = service.ClientOf(team.Secret);
            client.Timeout = Patience;
            var requests = new FuzzedRequests(document.DeepClone(), 1000 + n, ids);
            while (Interlocked.Increment(ref asked) <= Requests)
            {
                var (name, request) = requests.Next();
                using (request)
                {
                    // A stream does not end, and a wait lasts: what both say first is enough.
                    using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
                    var text = response.Content.Headers.ContentType?.MediaType == "text/event-stream" ? "" : await response.Content.ReadAsStringAsync();
                    var status = (int)response.StatusCode;
                    lock (answered)
                    {
                        if (!answered.TryGetValue(name, out var known)) answered[name] = known = [];
                        known.Add(status);
                        if (status >= 500) wrong.Add($"{status}: {name}: {request.RequestUri}: {text[..Math.Min(300, text.Length)]}");
                        if (text.Contains(other.Mark, StringComparison.OrdinalIgnoreCase)) wrong.Add($"{team.Mark} is told of {other.Mark}: {name}: {request.RequestUri}: {text[..Math.Min(300, text.Length)]}");
                    }
                }
            }
        })));
        Assert.Empty(wrong);
        // It was no walk along closed doors: most operations were also answered with what they are for.
        Assert.True(answered.Count > 40, $"{answered.Count} operations were asked");
        Assert.True(answered.Count(a => a.Value.Any(s => s < 300)) > answered.Count / 3, string.Join('\n', answered.Select(a => $"{a.Key}: {string.Join(' ', a.Value.Order())}")));
        using var health = await reader.GetAsync("/health");
        Assert.Equal(HttpStatusCode.OK, health.StatusCode);
    }
}
