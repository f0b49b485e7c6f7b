using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using Contracts;
using Testing;
using Xunit;

namespace Api.Tests.Images;

internal static class ImageCalls
{
    /// <summary>Bytes that nobody else has.</summary>
    public static byte[] Random(int count) => RandomNumberGenerator.GetBytes(count);

    public static string Sha256(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    public static object File(byte[] bytes, string? url = null) => new { sha256 = Sha256(bytes), bytes = bytes.Length, url };

    public static object OfKernel(string name, byte[] kernel, string? url = null, bool shared = false) =>
        new { name, shared, kernelVersion = "6.12", hasAgent = true, commandLine = "quiet", files = new Dictionary<string, object> { ["kernel"] = File(kernel, url) } };

    public static async Task<ImageView> RegisterAsync(this HttpClient client, object body)
    {
        using var response = await client.PostAsJsonAsync("/v1/images", body);
        Assert.True(response.StatusCode == HttpStatusCode.Created, await response.Content.ReadAsStringAsync());
        return (await response.Content.ReadFromJsonAsync<ImageView>())!;
    }

    /// <summary>Without telling how long it is, unless the test says so.</summary>
    public static async Task<string> UploadAsync(this HttpClient client, Guid image, string role, byte[] bytes, bool tellsLength = true)
    {
        using var request = new HttpRequestMessage(HttpMethod.Put, $"/v1/images/{image}/files/{role}") { Content = tellsLength ? new ByteArrayContent(bytes) : new StreamContent(new Unseekable(bytes)) };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        using var response = await client.SendAsync(request);
        return await response.AnswerAsync();
    }

    public static async Task<ImageView> ImageAsync(this HttpClient client, Guid id) => (await client.GetFromJsonAsync<ImageView>($"/v1/images/{id}"))!;

    public static Task<ImageView> UntilAsync(this HttpClient client, Guid id, ImagePhase phase) => Eventually.GetAsync(async () => await client.ImageAsync(id) is { } view && view.Phase == phase ? view : null, $"the image is {phase}", Patience);

    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public static async Task<ImageView> ReadyAsync(this HttpClient client, string name, byte[] kernel, bool shared = false)
    {
        var image = await client.RegisterAsync(OfKernel(name, kernel, shared: shared));
        Assert.Equal("200", await client.UploadAsync(image.Id!.Value, "kernel", kernel));
        return image;
    }

    private sealed class Unseekable(byte[] bytes) : MemoryStream(bytes)
    {
        public override bool CanSeek => false;
    }
}
